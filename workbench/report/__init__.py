"""Reports: rows that become headlines, verdicts, figures and one HTML page."""

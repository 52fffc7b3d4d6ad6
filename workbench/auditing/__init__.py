"""Audits of one synthetic table against what fresh real rows would show."""

"""The side-by-side page of JupyterLab and Voila."""

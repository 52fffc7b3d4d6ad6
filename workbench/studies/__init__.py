"""Questions of their own that are answered with the same rows."""

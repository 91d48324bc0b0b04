"""The built-in weight types, one family a file."""

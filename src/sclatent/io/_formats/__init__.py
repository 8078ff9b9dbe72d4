"""One reader per format of count files."""

"""Data and networks made on the spot, so that everything can be tried without a download."""

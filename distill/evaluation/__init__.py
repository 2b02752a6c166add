"""Compressed models against their teacher."""

"""Image files in: one reader for every command, and one meaning of their pixels."""

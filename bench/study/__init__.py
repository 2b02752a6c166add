"""Preferences between methods: the real study with people, and a proxy of it."""

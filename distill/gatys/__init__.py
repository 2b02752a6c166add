"""Gatys' optimisation, with a teacher or a student as the loss network."""

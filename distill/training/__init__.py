"""Making students and teachers: images, losses, recipes, the loop."""

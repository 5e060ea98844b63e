"""What the text of a view may say, decided before it runs."""

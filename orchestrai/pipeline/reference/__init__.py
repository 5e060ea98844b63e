"""What may be declared: each key with its words, as a schema for editors, a page, and answers to questions."""

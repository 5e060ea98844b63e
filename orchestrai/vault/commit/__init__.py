"""How contents enter a vault and a snapshot becomes visible, whole, to everybody at once."""

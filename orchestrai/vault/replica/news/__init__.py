"""What a replica lacks since its own signed progress, found without a listing of either store."""

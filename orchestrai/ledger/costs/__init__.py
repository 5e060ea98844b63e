"""What runs cost: measured, priced, and kept in signed records beside the receipts."""

"""The pages that people read: markup that escapes, one frame for all of them, plots without a script."""

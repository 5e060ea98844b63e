"""Is every byte in a vault what its signed commit says?"""

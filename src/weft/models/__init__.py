"""Models: made, loaded, adapted, taken apart and saved; never from pickle, never with remote code."""

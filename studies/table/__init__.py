"""This kernel beside the one it started from, the vendor's, torch.compile's and the card's limit, all in the same launches."""

"""Who changes photos: one module a wire format, behind the protocol of `base`."""

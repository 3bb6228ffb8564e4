"""The systems that the two papers compare with: EDSR, LIIF, SR3, IDM, ESRGAN. Their configs need no torch."""

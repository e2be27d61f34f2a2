"""A site's own data: reading, checking, turning into a design matrix."""

"""What a hospital's data manager reads about the site's own rows before anything connects."""

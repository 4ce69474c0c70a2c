"""Where models, texts and tasks come from, and what is known of them before anything runs."""

"""What a run says of itself: lines while it goes, a table and a summary at the end."""

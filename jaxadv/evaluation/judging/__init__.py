"""Images before and after an attack: checked, judged again, kept for pictures."""

"""What is measured, a section of the report each: frozen dataclasses, and what makes them."""

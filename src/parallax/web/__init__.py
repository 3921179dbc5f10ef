"""The pages: the desk as people see it, rendered here and kept live by one event stream a page."""

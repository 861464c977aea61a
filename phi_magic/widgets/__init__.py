"""What one can touch: the panel, the explorer, the token view. The only rooms that know ipywidgets and anywidget."""

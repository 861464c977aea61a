"""The widgets: panel, explorer, token view. Only this folder imports ipywidgets and anywidget."""

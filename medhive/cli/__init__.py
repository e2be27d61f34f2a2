"""The commands: reading options, calling the layers below, printing."""

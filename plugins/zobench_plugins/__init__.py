"""zobench's built-in plugins. They come in by entry points, like anyone's, and import only what `zobench` exports."""

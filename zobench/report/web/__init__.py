"""board.html: one page that works from a file, without a network; a function of records and of the logs beside them.

`payload` is what the page shows, as JSON; `page` puts it, the template and the libraries of vendor/ together. Light.
"""

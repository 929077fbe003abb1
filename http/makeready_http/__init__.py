"""The HTTP side: thin Starlette handlers that parse, authorise, call one function and answer."""

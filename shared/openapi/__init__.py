"""The description of the HTTP API as an OpenAPI 3.1 document, made from the constants of the code."""

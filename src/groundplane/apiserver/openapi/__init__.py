"""/openapi/v2 and /openapi/v3, made from the schema pack on first use."""

"""How good the parts are: metrics, tables and the data they are measured on."""

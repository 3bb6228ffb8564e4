"""What operators do with a store and a registry: show, compare, verify, forget, report. One file a tool."""

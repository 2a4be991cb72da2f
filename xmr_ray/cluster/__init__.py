"""The engine on Ray: sessions, Ray Train, Ray Data scoring; wrappers hold no arithmetic."""

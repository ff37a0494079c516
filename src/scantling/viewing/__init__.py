"""The room of the local server: cases in the browser, and corrections that come back from it."""

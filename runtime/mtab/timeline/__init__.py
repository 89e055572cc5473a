"""The emotions of long recordings, over time, and of live speech."""

"""An archive of clips answered on a Ray cluster, as Parquet files with a row for each row of the input."""

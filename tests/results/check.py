"""Whether pandas and polars read the same in all forms of the results in a folder."""

import json
import pathlib
import sys

import pandas
import polars

folder = pathlib.Path(sys.argv[1])
summary = json.loads((folder / "summary.json").read_text())

read = {
    "csv": pandas.read_csv(folder / "aggregates.csv"),
    "jsonl": pandas.read_json(folder / "aggregates.jsonl", lines=True, precise_float=True),
    "parquet": pandas.read_parquet(folder / "aggregates.parquet"),
}
first = read["parquet"]
assert list(first.columns) == ["tick", "name", "value"], first.columns
assert len(first) > 0
for form, table in read.items():
    pandas.testing.assert_frame_equal(table, first, check_exact=form != "jsonl", obj=form, check_dtype=False)
last = first.groupby("name")["value"].last().to_dict()
assert last == summary["aggregates"], (last, summary)

for path in folder.glob("members-*.parquet"):
    members = polars.read_parquet(path)
    assert members.equals(polars.read_csv(path.with_suffix(".csv")).cast(members.schema)), path
    assert members["member"].to_list() == list(range(len(members)))
aggregates = polars.read_parquet(folder / "aggregates.parquet")
assert aggregates.equals(polars.read_csv(folder / "aggregates.csv").cast(aggregates.schema))
assert aggregates.height == len(first)
print("pandas and polars read the results")

//! How an entry of the table of settings (`table`) is written.

/// A setting whose value lies at one place: how it is read, and how it is shown.
macro_rules! setting {
    ($group:ident, $name:literal, $value:literal, $doc:literal, $($field:ident).+, $read:expr, $show:expr) => {
        Setting {
            group: SettingGroup::$group,
            name: $name,
            value: $value,
            doc: $doc,
            set: |config, text| {
                config.$($field).+ = $read(text)?;
                Ok(())
            },
            show: |config| $show(&config.$($field).+),
        }
    };
}

pub(super) use setting;

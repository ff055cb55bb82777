//! One declaration for each setting: its name, type, default, range and documentation. The struct
//! that the program reads, the table of known names, the example file and the checks are all made
//! from it, so that they cannot differ. Called by `settings`, which holds the declarations.

use figment::value::Value as Found;

use super::value::Value;

/// One setting, as the table knows it.
#[derive(Debug)]
pub(super) struct Setting {
    /// The full name, `limits.max_queues`.
    pub name: &'static str,
    /// The default as text, as it could stand in the environment.
    pub default: &'static str,
    /// The least and the greatest value, as text of the setting's type.
    pub range: Option<(&'static str, &'static str)>,
    /// What the setting does, a line each.
    pub about: &'static [&'static str],
    /// Reads a value: its canonical TOML, or what is wrong with it.
    pub read: fn(&Setting, &Found) -> Result<String, String>,
}

/// The settings of one section of the file.
#[derive(Debug)]
pub(super) struct Section {
    /// The section's name; empty for what stands before the first one.
    pub name: &'static str,
    /// What the section is about, a line each.
    pub about: &'static [&'static str],
    /// The settings in the order of the example file.
    pub settings: &'static [Setting],
}

/// Reads `found` as a `T` and checks the setting's range. Never repeats what it found.
pub(super) fn read<T: Value>(setting: &Setting, found: &Found) -> Result<String, String> {
    let expected = || format!("must be {}", T::expected());
    let value: T = super::value::deserialize(found).map_err(|error: figment::Error| {
        // Only our own texts are passed on: the library's own kinds print the value.
        match error.kind {
            figment::error::Kind::Message(text) => text,
            _ => expected(),
        }
    })?;
    let bound = |text| T::parse(text).ok().and_then(|bound: T| bound.magnitude());
    if let (Some((least, greatest)), Some(magnitude)) = (setting.range, value.magnitude())
        && !(bound(least)..=bound(greatest)).contains(&Some(magnitude))
    {
        return Err(format!("must be between {least} and {greatest}"));
    }
    Ok(value.to_toml())
}

/// Declares a section: a struct with a field for each setting, and its [`Section`].
/// `sections` are structs of the same kind that stand below it.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $section:ident in $prefix:literal named $name:literal {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $kind:ty = $default:literal
                    $(in $least:literal to $greatest:literal)?;
            )*
        }
        $(sections { $($(#[$sub_doc:meta])+ $sub:ident: $sub_kind:ty;)+ })?
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $section {
            $(
                $(#[doc = $doc])+
                #[serde(deserialize_with = "super::value::deserialize")]
                pub $field: $kind,
            )*
            $($($(#[$sub_doc])+ pub $sub: $sub_kind,)+)?
        }

        impl $section {
            pub(super) const SECTION: $crate::config::section::Section =
                $crate::config::section::Section {
                    name: $name,
                    about: &[$($about),+],
                    settings: &[$(
                        $crate::config::section::Setting {
                            name: concat!($prefix, stringify!($field)),
                            default: $default,
                            range: section!(@range $($least $greatest)?),
                            about: &[$($doc),+],
                            read: $crate::config::section::read::<$kind>,
                        },
                    )*],
                };
        }
    };
    (@range) => { None };
    (@range $least:literal $greatest:literal) => { Some(($least, $greatest)) };
}
pub(super) use section;

//! Typed access to the fields of an object. Each field is taken once; what is left over at the end
//! is unknown or doubled, and refused by name.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use super::json::{self, Entry};
use super::request::ParseError;

/// Where an object stands, for the `field` of errors.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    /// The request itself.
    Request,
    /// One of a batch.
    Message(usize),
    /// An object in a field of this name.
    In(&'a str),
}

impl Place<'_> {
    fn join(self, name: &str) -> String {
        match self {
            Place::Request => name.to_owned(),
            Place::Message(index) => format!("messages[{index}].{name}"),
            Place::In(outer) => format!("{outer}.{name}"),
        }
    }

    /// What has the fields.
    fn owner(self) -> String {
        match self {
            Place::Request => "this request".to_owned(),
            Place::Message(_) => "a message".to_owned(),
            Place::In(outer) => outer.to_owned(),
        }
    }
}

/// The names that an object of the protocol may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    /// Those that this version takes.
    pub own: &'static [&'static [&'static str]],
    /// Those that come with later work.
    pub later: &'static [&'static [&'static str]],
}

/// Fields of one object that were not taken yet.
pub(super) struct Fields<'a> {
    entries: Vec<Entry<'a>>,
    place: Place<'a>,
    /// For what is left over.
    pub names: Names,
}

/// The text of a value and the name of its field.
pub(super) struct Field<'a, 'f> {
    pub name: &'f str,
    pub text: &'a str,
    place: Place<'f>,
}

impl<'a> Fields<'a> {
    pub fn new(entries: Vec<Entry<'a>>, place: Place<'a>, names: Names) -> Self {
        Self { entries, place, names }
    }

    /// Takes a field out.
    pub fn optional<'f>(&mut self, name: &'f str) -> Option<Field<'a, 'f>>
    where
        'a: 'f,
    {
        let at = self.entries.iter().position(|entry| entry.name == name)?;
        let text = self.entries.remove(at).value;
        Some(Field { name, text, place: self.place })
    }

    /// Takes a field out that must be there.
    pub fn required<'f>(&mut self, name: &'f str) -> Result<Field<'a, 'f>, ParseError>
    where
        'a: 'f,
    {
        self.optional(name).ok_or_else(|| self.missing(name, "is missing"))
    }

    /// A refusal for a field that is not there; or for one that should not be, because a typing
    /// mistake is both, and its own name helps more.
    pub fn missing(&self, name: &str, text: &str) -> ParseError {
        self.stranger()
            .unwrap_or_else(|| ParseError::bad_request(Some(self.place.join(name)), text))
    }

    /// Refuses what is left over: a name that is not one of the object's, or one that was doubled.
    pub fn finish(self) -> Result<(), ParseError> {
        let Some(left) = self.entries.first() else { return Ok(()) };
        Err(self.stranger().unwrap_or_else(|| {
            let place = self.place.join(&left.name);
            ParseError::bad_request(Some(place), "stands there more than once; give it once")
        }))
    }

    /// What is wrong with the first field that this version does not take.
    fn stranger(&self) -> Option<ParseError> {
        let among = |lists: &[&[&str]], name: &str| lists.iter().any(|list| list.contains(&name));
        let stranger =
            self.entries.iter().find(|entry| !among(self.names.own, entry.name.as_ref()))?;
        let place = Some(self.place.join(clip(&stranger.name)));
        Some(if among(self.names.later, &stranger.name) {
            not_yet(place, &stranger.name)
        } else {
            let of = self.place.owner();
            ParseError::bad_request(place, format!("is not a field of {of}; check its spelling"))
        })
    }
}

/// As much of a name that the client made up as is repeated to it: 64 bytes.
fn clip(name: &str) -> &str {
    &name[..name.floor_char_boundary(64)]
}

/// "Not supported yet" for a field or request that this version knows by name only.
pub(super) fn not_yet(place: Option<String>, name: &str) -> ParseError {
    ParseError::bad_request(
        place,
        format!("{name} is not supported yet by this version; leave it out"),
    )
}

impl<'a, 'f> Field<'a, 'f> {
    /// A refusal that names this field.
    pub fn refuse(&self, text: impl fmt::Display) -> ParseError {
        ParseError::bad_request(Some(self.place.join(self.name)), text.to_string())
    }

    pub fn string(&self) -> Result<Cow<'a, str>, ParseError> {
        json::string(self.text).ok_or_else(|| self.refuse("must be a string"))
    }

    /// A string of so many bytes.
    pub fn string_of(&self, bytes: RangeInclusive<usize>) -> Result<Cow<'a, str>, ParseError> {
        let text = self.string()?;
        if bytes.contains(&text.len()) {
            return Ok(text);
        }
        Err(self.refuse(format_args!("must have {} to {} bytes", bytes.start(), bytes.end())))
    }

    pub fn integer(&self, range: RangeInclusive<u64>) -> Result<u64, ParseError> {
        json::integer(self.text).filter(|number| range.contains(number)).ok_or_else(|| {
            self.refuse(format_args!(
                "must be an integer from {} to {}, written without fraction and exponent",
                range.start(),
                range.end()
            ))
        })
    }

    pub fn boolean(&self) -> Result<bool, ParseError> {
        match self.text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.refuse("must be true or false")),
        }
    }

    pub fn is_null(&self) -> bool {
        self.text == "null"
    }

    /// A string that `parse` takes.
    pub fn parsed<T, E: fmt::Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ParseError> {
        parse(&self.string()?).map_err(|error| self.refuse(error))
    }

    pub fn elements(&self) -> Result<json::Elements<'a>, ParseError> {
        json::array(self.text).ok_or_else(|| self.refuse("must be an array"))
    }

    /// The fields of an object.
    pub fn object(&self) -> Result<Vec<Entry<'a>>, ParseError> {
        json::object(self.text).ok_or_else(|| self.refuse("must be an object"))
    }
}

//! A strict scanner for JSON text (RFC 8259) that says no more than "valid" and where the fields
//! of an object stand. A library would build values that are not wanted here: a `body` is passed on
//! byte for byte, and doubled names, lone surrogates and the depth have rules of their own.

use std::borrow::Cow;

/// Deepest nesting, of a frame and of a `body`.
const DEPTH_MAX: u32 = 64;

/// Why a text is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Bytes that are no text.
    #[error("the frame is not valid UTF-8; write JSON in UTF-8")]
    Utf8,
    /// Something that the grammar does not allow.
    #[error("the frame is not valid JSON at byte {0}; a frame is one JSON object on one line")]
    Syntax(usize),
    /// A surrogate escape without its other half.
    #[error(
        "the frame has a surrogate escape without its other half at byte {0}; write both halves"
    )]
    Surrogate(usize),
    /// Too deep.
    #[error(
        "the frame is nested deeper than 64 levels at byte {0}; send it flatter, or as a payload"
    )]
    Depth(usize),
    /// Valid, but no object.
    #[error("the frame is not a JSON object; write one on each line")]
    NotAnObject,
}

/// One field of an object.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The name, escapes resolved.
    pub name: Cow<'a, str>,
    /// The text of the value, without white space around it.
    pub value: &'a str,
}

/// More fields than this are not listed: no object of the protocol may have so many (headers may
/// have 64), so what is listed is refused anyhow.
const ENTRIES_MAX: usize = 65;

/// Checks a whole frame and lists its fields.
pub fn frame(bytes: &[u8]) -> Result<Vec<Entry<'_>>, Invalid> {
    let text = std::str::from_utf8(bytes).map_err(|_| Invalid::Utf8)?;
    let mut scanner = Scanner { bytes, at: 0 };
    let mut entries = Vec::with_capacity(8);
    scanner.space();
    let is_object = scanner.peek() == Some(b'{');
    if is_object {
        scanner.object(1, Place::Frame, |name, value| keep(text, &mut entries, name, value))?;
    } else {
        scanner.value(0, Place::Elsewhere)?;
    }
    scanner.space();
    if scanner.at < bytes.len() {
        return Err(Invalid::Syntax(scanner.at));
    }
    if is_object { Ok(entries) } else { Err(Invalid::NotAnObject) }
}

/// The fields of an object within a frame that was checked; `None` if the value is no object.
pub fn object(text: &str) -> Option<Vec<Entry<'_>>> {
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0 };
    let mut entries = Vec::with_capacity(8);
    if scanner.peek() != Some(b'{') {
        return None;
    }
    scanner
        .object(0, Place::Message, |name, value| keep(text, &mut entries, name, value))
        .expect("the frame around it was checked");
    Some(entries)
}

/// The elements of an array within a frame that was checked; `None` if the value is no array.
pub fn array(text: &str) -> Option<Elements<'_>> {
    text.starts_with('[').then_some(Elements { text, at: 1 })
}

/// See [`array`].
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let mut scanner = Scanner { bytes: self.text.as_bytes(), at: self.at };
        scanner.space();
        if scanner.peek() == Some(b',') {
            scanner.at += 1;
            scanner.space();
        }
        if scanner.peek() == Some(b']') {
            return None;
        }
        let start = scanner.at;
        scanner.value(0, Place::Message).expect("the frame around it was checked");
        self.at = scanner.at;
        Some(&self.text[start..scanner.at])
    }
}

/// The text that a JSON string of a checked frame stands for; `None` if the value is no string.
pub fn string(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        let resolved = serde_json::from_str(text).expect("the frame around it was checked");
        Some(Cow::Owned(resolved))
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// An unsigned integer without sign, fraction and exponent.
pub fn integer(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn keep<'a>(text: &'a str, entries: &mut Vec<Entry<'a>>, name: Span, value: Span) {
    if entries.len() < ENTRIES_MAX {
        let name = string(&text[name.0..name.1]).expect("names are strings");
        entries.push(Entry { name, value: &text[value.0..value.1] });
    }
}

type Span = (usize, usize);

/// Where a value stands, which decides from where its depth counts.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Frame,
    Messages,
    Message,
    Elsewhere,
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn syntax<T>(&self) -> Result<T, Invalid> {
        Err(Invalid::Syntax(self.at))
    }

    fn expect(&mut self, byte: u8) -> Result<(), Invalid> {
        if self.peek() != Some(byte) {
            return self.syntax();
        }
        self.at += 1;
        Ok(())
    }

    /// One value; `depth` levels are open around it.
    fn value(&mut self, depth: u32, place: Place) -> Result<(), Invalid> {
        match self.peek() {
            Some(b'{') => self.object(depth + 1, place, |_, _| {}),
            Some(b'[') => self.array(depth + 1, place),
            Some(b'"') => self.string(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.syntax(),
        }
    }

    fn open(&mut self, depth: u32) -> Result<(), Invalid> {
        if depth > DEPTH_MAX {
            return Err(Invalid::Depth(self.at));
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    /// An object that is the level `depth`.
    fn object(
        &mut self,
        depth: u32,
        place: Place,
        mut field: impl FnMut(Span, Span),
    ) -> Result<(), Invalid> {
        self.open(depth)?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let name = self.span(Self::string)?;
            self.space();
            self.expect(b':')?;
            self.space();
            let (depth, place) = self.place_of(name, depth, place);
            let value = self.span(|scanner| scanner.value(depth, place))?;
            field(name, value);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.syntax(),
            }
            self.space();
        }
    }

    /// The depth and place of a field's value: a `body` begins anew.
    fn place_of(&self, name: Span, depth: u32, place: Place) -> (u32, Place) {
        match (place, &self.bytes[name.0..name.1]) {
            (Place::Frame | Place::Message, b"\"body\"") => (0, Place::Elsewhere),
            (Place::Frame, b"\"messages\"") => (depth, Place::Messages),
            _ => (depth, Place::Elsewhere),
        }
    }

    fn array(&mut self, depth: u32, place: Place) -> Result<(), Invalid> {
        let place = if place == Place::Messages { Place::Message } else { Place::Elsewhere };
        self.open(depth)?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth, place)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.syntax(),
            }
            self.space();
        }
    }

    fn span(
        &mut self,
        scan: impl FnOnce(&mut Self) -> Result<(), Invalid>,
    ) -> Result<Span, Invalid> {
        let start = self.at;
        scan(self)?;
        Ok((start, self.at))
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Invalid> {
        if !self.bytes[self.at..].starts_with(word) {
            return self.syntax();
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Invalid> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return self.syntax(),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Invalid> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.syntax() } else { Ok(()) }
    }

    fn string(&mut self) -> Result<(), Invalid> {
        self.expect(b'"')?;
        loop {
            self.at += plain_prefix(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                _ => return self.syntax(),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Invalid> {
        let start = self.at;
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => match self.code_unit()? {
                0xd800..=0xdbff => {
                    if self.peek() != Some(b'\\') || self.bytes.get(self.at + 1) != Some(&b'u') {
                        return Err(Invalid::Surrogate(start));
                    }
                    self.at += 1;
                    if !(0xdc00..=0xdfff).contains(&self.code_unit()?) {
                        return Err(Invalid::Surrogate(start));
                    }
                }
                0xdc00..=0xdfff => return Err(Invalid::Surrogate(start)),
                _ => {}
            },
            _ => return self.syntax(),
        }
        Ok(())
    }

    /// `uXXXX`, from the `u`.
    fn code_unit(&mut self) -> Result<u16, Invalid> {
        let digits = self.bytes.get(self.at + 1..self.at + 5);
        let unit = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u16::from_str_radix(digits, 16).ok());
        match unit {
            Some(unit) => {
                self.at += 5;
                Ok(unit)
            }
            None => self.syntax(),
        }
    }
}

/// How many bytes at the front are neither a quote, nor a backslash, nor a control character; eight
/// at a time ("Bit Twiddling Hacks", "Determine if a word has a byte less than n").
fn plain_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        let quote = has_zero(word ^ (ONES * u64::from(b'"')));
        let backslash = has_zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        if quote | backslash | control != 0 {
            break;
        }
        at += 8;
    }
    let rest = &bytes[at..];
    at + rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn valid(text: &str) -> bool {
        frame(text.as_bytes()).is_ok()
    }

    #[test]
    fn depth_counts_from_the_frame_and_anew_in_a_body() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(valid(&format!(r#"{{"x":{}}}"#, nested(63))));
        assert!(!valid(&format!(r#"{{"x":{}}}"#, nested(64))));
        assert!(valid(&format!(r#"{{"body":{}}}"#, nested(64))));
        assert!(!valid(&format!(r#"{{"body":{}}}"#, nested(65))));
        assert!(valid(&format!(r#"{{"messages":[{{"body":{}}}]}}"#, nested(64))));
        assert!(!valid(&format!(r#"{{"messages":[{{"body":{}}}]}}"#, nested(65))));
        assert!(!valid(&format!(r#"{{"messages":[{{"x":{}}}]}}"#, nested(62))));
        assert!(!valid(&format!(r#"{{"x":[{{"body":{}}}]}}"#, nested(64))));
    }

    #[test]
    fn surrogates_come_in_pairs() {
        for good in [r#"{"a":"\ud83d\ude00"}"#, r#"{"\ud83d\ude00":1}"#] {
            assert!(valid(good), "{good}");
        }
        for bad in
            [r#""\ud83d""#, r#""\ud83dx""#, r#""\ude00""#, r#""\ud83d\ud83d""#, r#""\ud83d\n""#]
        {
            assert!(!valid(&format!(r#"{{"a":{bad}}}"#)), "{bad}");
            assert!(!valid(&format!(r#"{{"body":{bad}}}"#)), "{bad}");
        }
    }

    #[test]
    fn elements_and_fields_are_found() {
        let text = r#"{ "a" : [ 1 , "x,]" , {"b":[2]} ] , "\u0062" : {} }"#;
        let entries = frame(text.as_bytes()).unwrap();
        let found: Vec<_> = entries.iter().map(|e| (&*e.name, e.value)).collect();
        assert_eq!(found, [("a", r#"[ 1 , "x,]" , {"b":[2]} ]"#), ("b", "{}")]);
        let elements: Vec<_> = array(entries[0].value).unwrap().collect();
        assert_eq!(elements, ["1", r#""x,]""#, r#"{"b":[2]}"#]);
        assert_eq!(array("[ ]").unwrap().count(), 0);
    }

    /// What serde_json accepts; it is the same grammar but for depth and lone surrogates.
    fn reference(text: &str) -> bool {
        type Fields = std::collections::BTreeMap<String, Box<serde_json::value::RawValue>>;
        serde_json::from_str::<Fields>(text).is_ok()
    }

    fn json_like() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("{".to_owned()),
            Just("}".to_owned()),
            Just("[".to_owned()),
            Just("]".to_owned()),
            Just(",".to_owned()),
            Just(":".to_owned()),
            Just("\"a\"".to_owned()),
            Just("\"\\u0041\\n\"".to_owned()),
            Just("1".to_owned()),
            Just("-0.5e+3".to_owned()),
            Just("01".to_owned()),
            Just("true".to_owned()),
            Just("null".to_owned()),
            Just(" ".to_owned()),
            "[\"\\\\a0-9.eE+{}\\[\\]:, \t-]{1,3}",
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| format!("{{{}", pieces.concat()))
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                proptest::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in json_like()) {
            prop_assert_eq!(valid(&text), reference(&text), "{}", text);
        }

        #[test]
        fn takes_what_serde_json_writes(value in value()) {
            let text = format!("{{\"a\":{value},\"b\":{value:#}}}");
            let entries = frame(text.as_bytes()).unwrap();
            prop_assert_eq!(entries[0].value, value.to_string());
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = frame(&bytes);
        }

        #[test]
        fn the_plain_prefix_is_the_one_found_byte_by_byte(
            bytes in "[a\"\\\\\u{1f} é\u{80}]{0,40}",
        ) {
            let plain = |b: &u8| *b >= 0x20 && *b != b'"' && *b != b'\\';
            let slow = bytes.bytes().take_while(|b| plain(b)).count();
            prop_assert_eq!(plain_prefix(bytes.as_bytes()), slow);
        }
    }
}

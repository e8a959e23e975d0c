//! RFC 8785 encoding of a record, straight from its structs: whole numbers only, bounded depth, sorted keys.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use aegis_core::json;
use serde::Serialize;
use serde::ser::{
    self, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleStruct,
    SerializeTupleVariant, Serializer,
};

/// Bytes that most records fit in.
const USUAL_BYTES: usize = 1_536;

/// Why something has no encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A number with a fraction or beyond ±(2^53−1), or too deep a nesting.
    Value,
    /// Something that the schema cannot say.
    Schema(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value => f.write_str("a value that records do not have"),
            Self::Schema(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Schema(message.to_string())
    }
}

/// The encoding; values may lie `depth_max` deep, the whole being 1.
pub(crate) fn encode(of: &impl Serialize, depth_max: usize) -> Result<String, Refused> {
    let mut out = String::with_capacity(USUAL_BYTES);
    of.serialize(Writer { out: &mut out, depth_left: depth_max })?;
    Ok(out)
}

/// Writes one value.
struct Writer<'a> {
    out: &'a mut String,
    /// Levels that may still be entered, this value's own included.
    depth_left: usize,
}

impl<'a> Writer<'a> {
    fn enter(self) -> Result<(&'a mut String, usize), Refused> {
        let inner = self.depth_left.checked_sub(1).ok_or(Refused::Value)?;
        Ok((self.out, inner))
    }

    fn list(self, variant: Option<&'static str>) -> Result<List<'a>, Refused> {
        let (out, depth_left) = named(self, variant)?.enter()?;
        out.push('[');
        Ok(List { out, depth_left, first: true, variant })
    }

    fn object(self, variant: Option<&'static str>) -> Result<Object<'a>, Refused> {
        let (out, depth_left) = named(self, variant)?.enter()?;
        let start = out.len();
        Ok(Object { out, depth_left, start, keys: String::new(), members: Vec::new(), variant })
    }
}

/// The content of an enum's variant stands in an object of its own.
fn named<'a>(writer: Writer<'a>, variant: Option<&'static str>) -> Result<Writer<'a>, Refused> {
    let Some(name) = variant else { return Ok(writer) };
    let (out, depth_left) = writer.enter()?;
    out.push('{');
    json::write_string(out, name);
    out.push(':');
    Ok(Writer { out, depth_left })
}

fn close_named(out: &mut String, variant: Option<&'static str>) {
    if variant.is_some() {
        out.push('}');
    }
}

struct List<'a> {
    out: &'a mut String,
    depth_left: usize,
    first: bool,
    variant: Option<&'static str>,
}

impl List<'_> {
    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        if !std::mem::take(&mut self.first) {
            self.out.push(',');
        }
        value.serialize(Writer { out: self.out, depth_left: self.depth_left })
    }

    fn done(self) {
        self.out.push(']');
        close_named(self.out, self.variant);
    }
}

struct Object<'a> {
    out: &'a mut String,
    depth_left: usize,
    /// Where the members' values begin: written as they come, put in order at the end.
    start: usize,
    /// The keys as they come, quoted and escaped.
    keys: String,
    /// Where each key and its value end.
    members: Vec<(usize, usize)>,
    variant: Option<&'static str>,
}

impl Object<'_> {
    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        value.serialize(Writer { out: self.out, depth_left: self.depth_left })?;
        self.members.push((self.keys.len(), self.out.len()));
        Ok(())
    }

    fn done(self) -> Result<(), Refused> {
        let Self { out, start, keys, members, variant, .. } = self;
        let values = out.split_off(start);
        let (mut key_from, mut value_from) = (0, 0);
        let mut parts = Vec::with_capacity(members.len());
        for (key_end, value_end) in members {
            let value_end = value_end - start;
            let key = keys.get(key_from..key_end).unwrap_or_default();
            parts.push((key, values.get(value_from..value_end).unwrap_or_default()));
            (key_from, value_from) = (key_end, value_end);
        }
        parts.sort_unstable_by(|a, b| json::key_order(&text_of(a.0), &text_of(b.0)));
        if parts.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
            return Err(Refused::Schema("a key stands twice".to_owned()));
        }
        out.push('{');
        for (at, (key, value)) in parts.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            out.push_str(key);
            out.push(':');
            out.push_str(value);
        }
        out.push('}');
        close_named(out, variant);
        Ok(())
    }
}

/// The text of a quoted key.
fn text_of(quoted: &str) -> Cow<'_, str> {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    if inner.contains('\\') {
        Cow::Owned(serde_json::from_str(quoted).unwrap_or_default())
    } else {
        Cow::Borrowed(inner)
    }
}

impl<'a> Serializer for Writer<'a> {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = List<'a>;
    type SerializeTuple = List<'a>;
    type SerializeTupleStruct = List<'a>;
    type SerializeTupleVariant = List<'a>;
    type SerializeMap = Object<'a>;
    type SerializeStruct = Object<'a>;
    type SerializeStructVariant = Object<'a>;

    fn serialize_bool(self, v: bool) -> Result<(), Refused> {
        self.enter()?.0.push_str(if v { "true" } else { "false" });
        Ok(())
    }

    fn serialize_i8(self, v: i8) -> Result<(), Refused> {
        self.serialize_i64(v.into())
    }

    fn serialize_i16(self, v: i16) -> Result<(), Refused> {
        self.serialize_i64(v.into())
    }

    fn serialize_i32(self, v: i32) -> Result<(), Refused> {
        self.serialize_i64(v.into())
    }

    fn serialize_i64(self, v: i64) -> Result<(), Refused> {
        if v.unsigned_abs() > json::INTEGER_MAX.unsigned_abs() {
            return Err(Refused::Value);
        }
        write!(self.enter()?.0, "{v}").map_err(ser::Error::custom)
    }

    fn serialize_u8(self, v: u8) -> Result<(), Refused> {
        self.serialize_u64(v.into())
    }

    fn serialize_u16(self, v: u16) -> Result<(), Refused> {
        self.serialize_u64(v.into())
    }

    fn serialize_u32(self, v: u32) -> Result<(), Refused> {
        self.serialize_u64(v.into())
    }

    fn serialize_u64(self, v: u64) -> Result<(), Refused> {
        self.serialize_i64(i64::try_from(v).map_err(|_| Refused::Value)?)
    }

    fn serialize_f32(self, _: f32) -> Result<(), Refused> {
        Err(Refused::Value)
    }

    fn serialize_f64(self, _: f64) -> Result<(), Refused> {
        Err(Refused::Value)
    }

    fn serialize_char(self, v: char) -> Result<(), Refused> {
        self.serialize_str(v.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, v: &str) -> Result<(), Refused> {
        json::write_string(self.enter()?.0, v);
        Ok(())
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), Refused> {
        let mut list = self.list(None)?;
        v.iter().try_for_each(|byte| list.add(byte))?;
        list.done();
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Refused> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Refused> {
        self.enter()?.0.push_str("null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Refused> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Refused> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        let Writer { out, depth_left } = named(self, Some(variant))?;
        value.serialize(Writer { out: &mut *out, depth_left })?;
        close_named(out, Some(variant));
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'a>, Refused> {
        self.list(None)
    }

    fn serialize_tuple(self, _: usize) -> Result<List<'a>, Refused> {
        self.list(None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<List<'a>, Refused> {
        self.list(None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<List<'a>, Refused> {
        self.list(Some(variant))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Object<'a>, Refused> {
        self.object(None)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Object<'a>, Refused> {
        self.object(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Object<'a>, Refused> {
        self.object(Some(variant))
    }
}

/// The four kinds of lists that serde knows are one in JSON.
macro_rules! lists {
    ($($kind:ident $add:ident),*) => {$(
        impl $kind for List<'_> {
            type Ok = ();
            type Error = Refused;

            fn $add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                self.add(value)
            }

            fn end(self) -> Result<(), Refused> {
                self.done();
                Ok(())
            }
        }
    )*};
}

lists!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

/// As are structs and the content of struct variants.
macro_rules! structs {
    ($($kind:ident),*) => {$(
        impl $kind for Object<'_> {
            type Ok = ();
            type Error = Refused;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Refused> {
                json::write_string(&mut self.keys, key);
                self.value(value)
            }

            fn end(self) -> Result<(), Refused> {
                self.done()
            }
        }
    )*};
}

structs!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for Object<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        let from = self.keys.len();
        key.serialize(Writer { out: &mut self.keys, depth_left: 1 })?;
        if self.keys.get(from..).is_some_and(|key| key.starts_with('"')) {
            Ok(())
        } else {
            Err(Refused::Schema("a key is not a string".to_owned()))
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.value(value)
    }

    fn end(self) -> Result<(), Refused> {
        self.done()
    }
}

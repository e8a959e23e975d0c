//! From what serialises to a value of the engine, in one step.

use std::collections::BTreeMap;
use std::fmt;

use regorus::Value;
use serde::Serialize;
use serde::ser::{
    self, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleStruct,
    SerializeTupleVariant, Serializer,
};

/// Something that JSON cannot say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotJson(String);

impl fmt::Display for NotJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotJson {}

impl ser::Error for NotJson {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// The value that its JSON would be read as.
pub(crate) fn value_of(of: &(impl Serialize + ?Sized)) -> Result<Value, NotJson> {
    of.serialize(ToValue)
}

struct ToValue;

/// A list or object under construction; under a name if it is the content of an enum's variant.
struct Items(Vec<Value>, Option<&'static str>);

struct Members {
    map: BTreeMap<Value, Value>,
    key: Option<Value>,
    variant: Option<&'static str>,
}

fn named(variant: Option<&'static str>, value: Value) -> Value {
    match variant {
        None => value,
        Some(name) => Value::from(BTreeMap::from([(Value::from(name), value)])),
    }
}

impl Serializer for ToValue {
    type Ok = Value;
    type Error = NotJson;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Members;
    type SerializeStruct = Members;
    type SerializeStructVariant = Members;

    fn serialize_bool(self, v: bool) -> Result<Value, NotJson> {
        Ok(Value::Bool(v))
    }

    fn serialize_i8(self, v: i8) -> Result<Value, NotJson> {
        self.serialize_i64(v.into())
    }

    fn serialize_i16(self, v: i16) -> Result<Value, NotJson> {
        self.serialize_i64(v.into())
    }

    fn serialize_i32(self, v: i32) -> Result<Value, NotJson> {
        self.serialize_i64(v.into())
    }

    fn serialize_i64(self, v: i64) -> Result<Value, NotJson> {
        Ok(Value::from(v))
    }

    fn serialize_u8(self, v: u8) -> Result<Value, NotJson> {
        self.serialize_u64(v.into())
    }

    fn serialize_u16(self, v: u16) -> Result<Value, NotJson> {
        self.serialize_u64(v.into())
    }

    fn serialize_u32(self, v: u32) -> Result<Value, NotJson> {
        self.serialize_u64(v.into())
    }

    fn serialize_u64(self, v: u64) -> Result<Value, NotJson> {
        Ok(Value::from(v))
    }

    fn serialize_f32(self, v: f32) -> Result<Value, NotJson> {
        self.serialize_f64(v.into())
    }

    fn serialize_f64(self, v: f64) -> Result<Value, NotJson> {
        Ok(Value::from(v))
    }

    fn serialize_char(self, v: char) -> Result<Value, NotJson> {
        self.serialize_str(v.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, v: &str) -> Result<Value, NotJson> {
        Ok(Value::String(v.into()))
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<Value, NotJson> {
        Ok(Value::from(v.iter().map(|byte| Value::from(u64::from(*byte))).collect::<Vec<_>>()))
    }

    fn serialize_none(self) -> Result<Value, NotJson> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, NotJson> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, NotJson> {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<Value, NotJson> {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Value, NotJson> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Value, NotJson> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, NotJson> {
        value.serialize(self).map(|value| named(Some(variant), value))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Items, NotJson> {
        Ok(Items(Vec::with_capacity(len.unwrap_or(0)), None))
    }

    fn serialize_tuple(self, len: usize) -> Result<Items, NotJson> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Items, NotJson> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Items, NotJson> {
        Ok(Items(Vec::with_capacity(len), Some(variant)))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Members, NotJson> {
        Ok(Members { map: BTreeMap::new(), key: None, variant: None })
    }

    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Members, NotJson> {
        self.serialize_map(Some(len))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Members, NotJson> {
        Ok(Members { map: BTreeMap::new(), key: None, variant: Some(variant) })
    }
}

impl Items {
    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotJson> {
        self.0.push(value.serialize(ToValue)?);
        Ok(())
    }

    fn done(self) -> Value {
        named(self.1, Value::from(self.0))
    }
}

impl Members {
    fn add<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), NotJson> {
        self.map.insert(Value::from(name), value.serialize(ToValue)?);
        Ok(())
    }

    fn done(self) -> Value {
        let Self { map, variant, .. } = self;
        named(variant, if map.is_empty() { Value::new_object() } else { Value::from(map) })
    }
}

/// The four kinds of lists that serde knows are one in JSON.
macro_rules! items {
    ($($kind:ident $add:ident),*) => {$(
        impl $kind for Items {
            type Ok = Value;
            type Error = NotJson;

            fn $add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotJson> {
                self.add(value)
            }

            fn end(self) -> Result<Value, NotJson> {
                Ok(self.done())
            }
        }
    )*};
}

items!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

impl SerializeMap for Members {
    type Ok = Value;
    type Error = NotJson;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NotJson> {
        match key.serialize(ToValue)? {
            text @ Value::String(_) => self.key = Some(text),
            _ => return Err(NotJson("a key is not a string".to_owned())),
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotJson> {
        let key = self.key.take().ok_or_else(|| NotJson("a value without a key".to_owned()))?;
        self.map.insert(key, value.serialize(ToValue)?);
        Ok(())
    }

    fn end(self) -> Result<Value, NotJson> {
        Ok(self.done())
    }
}

impl SerializeStruct for Members {
    type Ok = Value;
    type Error = NotJson;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), NotJson> {
        self.add(name, value)
    }

    fn end(self) -> Result<Value, NotJson> {
        Ok(self.done())
    }
}

impl SerializeStructVariant for Members {
    type Ok = Value;
    type Error = NotJson;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), NotJson> {
        self.add(name, value)
    }

    fn end(self) -> Result<Value, NotJson> {
        Ok(self.done())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize as _;

    /// The long way: through JSON.
    fn through_json(of: &impl Serialize) -> Value {
        Value::deserialize(serde_json::to_value(of).unwrap()).unwrap()
    }

    #[derive(Serialize)]
    enum Shape {
        Unit,
        New(u8),
        Tuple(i8, char),
        Struct { a: Option<f32>, b: () },
    }

    #[test]
    fn every_shape_is_what_its_json_would_be() {
        for shape in [Shape::Unit, Shape::New(7), Shape::Tuple(-1, 'é'), Shape::Struct { a: Some(0.5), b: () }] {
            assert_eq!(value_of(&shape).unwrap(), through_json(&shape));
        }
        assert!(value_of(&BTreeMap::from([(1, 2)])).is_err(), "keys are strings");
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".{0,12}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::btree_map(".{0,6}", inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_payload_is_what_its_json_would_be(payload in json()) {
            prop_assert_eq!(value_of(&payload).unwrap(), through_json(&payload));
        }
    }
}

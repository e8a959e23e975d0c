//! How the shared words look in an OpenAPI document; only with the feature `openapi`, nothing otherwise.

#[cfg(feature = "openapi")]
#[doc(hidden)]
pub use utoipa;

/// Gives a closed set of words its schema.
#[cfg(feature = "openapi")]
#[doc(hidden)]
#[macro_export]
macro_rules! words_schema {
    ($name:ident, $($text:literal),+) => {
        impl $crate::openapi::utoipa::PartialSchema for $name {
            fn schema() -> $crate::openapi::utoipa::openapi::RefOr<$crate::openapi::utoipa::openapi::schema::Schema> {
                use $crate::openapi::utoipa::openapi::schema::{ObjectBuilder, Type};
                ObjectBuilder::new().schema_type(Type::String).enum_values(Some([$($text),+])).into()
            }
        }
        impl $crate::openapi::utoipa::ToSchema for $name {}
    };
}

/// Gives a text of a certain form its schema.
#[cfg(feature = "openapi")]
#[doc(hidden)]
#[macro_export]
macro_rules! text_schema {
    ($name:ident, $format:literal, $example:literal) => {
        impl $crate::openapi::utoipa::PartialSchema for $name {
            fn schema() -> $crate::openapi::utoipa::openapi::RefOr<$crate::openapi::utoipa::openapi::schema::Schema> {
                use $crate::openapi::utoipa::openapi::schema::{ObjectBuilder, SchemaFormat, Type};
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .format(Some(SchemaFormat::Custom($format.into())))
                    .examples([$example])
                    .into()
            }
        }
        impl $crate::openapi::utoipa::ToSchema for $name {}
    };
}

/// Gives a bounded integer its schema.
#[cfg(feature = "openapi")]
#[doc(hidden)]
#[macro_export]
macro_rules! integer_schema {
    ($name:ident, $min:expr, $max:expr, $example:literal) => {
        impl $crate::openapi::utoipa::PartialSchema for $name {
            fn schema() -> $crate::openapi::utoipa::openapi::RefOr<$crate::openapi::utoipa::openapi::schema::Schema> {
                use $crate::openapi::utoipa::openapi::schema::{ObjectBuilder, Type};
                ObjectBuilder::new()
                    .schema_type(Type::Integer)
                    .minimum(Some::<u64>($min))
                    .maximum(Some::<u64>($max))
                    .examples([$example])
                    .into()
            }
        }
        impl $crate::openapi::utoipa::ToSchema for $name {}
    };
}

/// Without the feature, a word has no schema.
#[cfg(not(feature = "openapi"))]
#[doc(hidden)]
#[macro_export]
macro_rules! words_schema {
    ($($anything:tt)*) => {};
}

/// Without the feature, a text has no schema.
#[cfg(not(feature = "openapi"))]
#[doc(hidden)]
#[macro_export]
macro_rules! text_schema {
    ($($anything:tt)*) => {};
}

/// Without the feature, an integer has no schema.
#[cfg(not(feature = "openapi"))]
#[doc(hidden)]
#[macro_export]
macro_rules! integer_schema {
    ($($anything:tt)*) => {};
}

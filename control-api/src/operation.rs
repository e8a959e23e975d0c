//! An operation: route, handler, level and documentation in one registration.
//!
//! What a handler takes and returns documents itself: its body, its query, its answer come from its signature,
//! so the OpenAPI document cannot say something else than the code.

use std::collections::BTreeSet;

use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::Method;
use serde::Serialize;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{Ref, RefOr};
use utoipa::{IntoParams, ToSchema};

use crate::access::Level;
use crate::caller::{Caller, Gate, admit};
use crate::envelope::{Answer, Bare};
use crate::error::ApiError;
use crate::extract::{Body, Path, Query, RequestBody};
use crate::idempotency;
use crate::state::App;
use crate::tag::Tag;

/// A named schema.
pub(crate) type NamedSchema = (String, RefOr<Schema>);

/// A refusal that an operation documents beyond those of its level and parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Failure {
    /// The status.
    pub(crate) status: u16,
    /// The stable identifier.
    pub(crate) error: &'static str,
    /// When it happens.
    pub(crate) when: &'static str,
}

/// Names a refusal for [`Operation::fails`].
pub(crate) const fn failure(status: u16, error: &'static str, when: &'static str) -> Failure {
    Failure { status, error, when }
}

/// What a handler's signature says.
#[derive(Default)]
pub(crate) struct Draft {
    /// Schema of the JSON body.
    pub(crate) body: Option<RefOr<Schema>>,
    /// Query parameters.
    pub(crate) query: Vec<Parameter>,
    /// Schema of the envelope's `data`.
    pub(crate) data: Option<RefOr<Schema>>,
    /// Whether the data stands without envelope.
    pub(crate) is_bare: bool,
    /// Everything these refer to.
    pub(crate) schemas: Vec<NamedSchema>,
}

impl Draft {
    fn refer<T: ToSchema>(&mut self) -> RefOr<Schema> {
        self.schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(&mut self.schemas);
        RefOr::Ref(Ref::from_schema_name(T::name()))
    }
}

/// A handler's argument or result that tells what it means for the document.
pub(crate) trait Described {
    /// Adds to the draft.
    fn describe(draft: &mut Draft);
}

impl Described for axum::extract::State<App> {
    fn describe(_: &mut Draft) {}
}

impl Described for Caller {
    fn describe(_: &mut Draft) {}
}

impl Described for http::HeaderMap {
    fn describe(_: &mut Draft) {}
}

impl<T> Described for Path<T> {
    fn describe(_: &mut Draft) {}
}

impl<T> Described for axum::Extension<T> {
    fn describe(_: &mut Draft) {}
}

impl Described for axum::body::Body {
    fn describe(_: &mut Draft) {}
}

impl<T: RequestBody + ToSchema> Described for Body<T> {
    fn describe(draft: &mut Draft) {
        draft.body = Some(draft.refer::<T>());
    }
}

impl<T: IntoParams> Described for Query<T> {
    fn describe(draft: &mut Draft) {
        draft.query = T::into_params(|| Some(ParameterIn::Query));
    }
}

impl<T: Serialize + DataSchema> Described for Result<Answer<T>, ApiError> {
    fn describe(draft: &mut Draft) {
        draft.data = Some(T::data_schema(draft));
    }
}

impl<T: Serialize + DataSchema> Described for Result<Bare<T>, ApiError> {
    fn describe(draft: &mut Draft) {
        draft.data = Some(T::data_schema(draft));
        draft.is_bare = true;
    }
}

/// An answer without envelope: described by [`Operation::plain`].
impl Described for Result<axum::response::Response, ApiError> {
    fn describe(_: &mut Draft) {}
}

/// What can be an envelope's `data`: one thing or a list of them.
pub(crate) trait DataSchema {
    /// Its schema.
    fn data_schema(draft: &mut Draft) -> RefOr<Schema>;
}

impl<T: ToSchema> DataSchema for T {
    fn data_schema(draft: &mut Draft) -> RefOr<Schema> {
        // Lists and maps have a schema of their own but no name: they stand inline.
        match T::schema() {
            RefOr::T(Schema::Array(array)) => {
                T::schemas(&mut draft.schemas);
                RefOr::T(Schema::Array(array))
            }
            _ => draft.refer::<T>(),
        }
    }
}

/// A handler whose signature describes itself.
pub(crate) trait Endpoint<Arguments> {
    /// Adds all it says to the draft.
    fn describe(draft: &mut Draft);
}

macro_rules! endpoints {
    ($(($($argument:ident),*))+) => {$(
        impl<F, Fut, R, $($argument),*> Endpoint<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> Fut,
            Fut: Future<Output = R>,
            R: Described,
            $($argument: Described,)*
        {
            fn describe(draft: &mut Draft) {
                $($argument::describe(draft);)*
                R::describe(draft);
            }
        }
    )+};
}
endpoints!(()(A)(A, B)(A, B, C)(A, B, C, D)(A, B, C, D, E)(A, B, C, D, E, G));

/// An operation, ready to be mounted and documented.
pub(crate) struct Operation {
    /// The method.
    pub(crate) method: Method,
    /// The path's template.
    pub(crate) path: &'static str,
    /// Who may call it.
    pub(crate) gate: Gate,
    /// Its unique id: the handler's place, such as `agents_list`.
    pub(crate) id: String,
    /// One line.
    pub(crate) summary: &'static str,
    /// The tag; absent for what stands outside.
    pub(crate) tag: Option<Tag>,
    /// Refusals of its own.
    pub(crate) failures: BTreeSet<Failure>,
    /// The media type and meaning of an answer without envelope.
    pub(crate) plain: Option<(&'static str, &'static str)>,
    /// The status of success.
    pub(crate) success: u16,
    /// Whether the answer has an `ETag`, which writes compare with `If-Match`.
    pub(crate) has_etag: bool,
    /// What the signature says.
    pub(crate) draft: Draft,
    router: MethodRouter<App>,
}

macro_rules! methods {
    ($($name:ident $method:ident $filter:ident;)*) => {$(
        #[doc = concat!("A ", stringify!($method), " operation.")]
        pub(crate) fn $name<H, T, A>(path: &'static str, level: Level, handler: H, summary: &'static str) -> Operation
        where
            H: Handler<T, App> + Endpoint<A>,
            T: 'static,
        {
            Operation::new((Method::$method, MethodFilter::$filter), path, level, handler, summary)
        }
    )*};
}
methods! {
    get GET GET;
    post POST POST;
    put PUT PUT;
    patch PATCH PATCH;
    delete DELETE DELETE;
}

impl Operation {
    fn new<H, T, A>(
        (method, filter): (Method, MethodFilter),
        path: &'static str,
        level: Level,
        handler: H,
        summary: &'static str,
    ) -> Self
    where
        H: Handler<T, App> + Endpoint<A>,
        T: 'static,
    {
        let mut draft = Draft::default();
        H::describe(&mut draft);
        Self {
            method,
            path,
            gate: Gate { level, tenant_optional: false, query_token: false },
            id: operation_id(std::any::type_name::<H>()),
            summary,
            tag: None,
            failures: BTreeSet::new(),
            plain: None,
            success: 200,
            has_etag: false,
            draft,
            router: on(filter, handler),
        }
    }

    /// Refusals beyond those of level and parameters.
    pub(crate) fn fails(mut self, failures: &[Failure]) -> Self {
        self.failures.extend(failures);
        self
    }

    /// Success is 201.
    pub(crate) fn creates(mut self) -> Self {
        self.success = 201;
        self
    }

    /// The answer has an `ETag`; a write honours `If-Match`.
    pub(crate) fn etag(mut self) -> Self {
        self.has_etag = true;
        self
    }

    /// The answer has no envelope but this media type.
    pub(crate) fn plain(mut self, media_type: &'static str, meaning: &'static str) -> Self {
        self.plain = Some((media_type, meaning));
        self
    }

    /// Body and answer, where another program serves the operation.
    pub(crate) fn documents<B: ToSchema, D: ToSchema>(mut self) -> Self {
        self.draft.body = Some(self.draft.refer::<B>());
        self.draft.data = Some(self.draft.refer::<D>());
        self
    }

    /// `X-Tenant-ID` may be absent: the tenant is the credential's.
    pub(crate) fn tenant_optional(mut self) -> Self {
        self.gate.tenant_optional = true;
        self
    }

    /// The token may stand in the query string, because browsers give event streams no headers.
    pub(crate) fn query_token(mut self) -> Self {
        self.gate.query_token = true;
        self
    }

    /// Whether `X-Idempotency-Key` is honoured: on every write of a principal. Sidecars have sequence numbers instead.
    pub(crate) fn takes_idempotency_key(&self) -> bool {
        let has_principal = !matches!(self.gate.level, Level::Public | Level::Service);
        has_principal && idempotency::applies(&self.method)
    }

    /// The route with its gate.
    pub(crate) fn mount(&self, app: &App) -> MethodRouter<App> {
        match self.gate.level {
            Level::Public => self.router.clone().layer(from_fn_with_state(app.clone(), crate::throttle::public)),
            // The last layer is the outermost: keys belong to admitted principals.
            _ if self.takes_idempotency_key() => self
                .router
                .clone()
                .layer(from_fn_with_state(app.clone(), idempotency::once))
                .layer(from_fn_with_state((app.clone(), self.gate), admit)),
            _ => self.router.clone().layer(from_fn_with_state((app.clone(), self.gate), admit)),
        }
    }
}

/// The operations of one tag.
pub(crate) fn tagged(tag: Tag, operations: Vec<Operation>) -> Vec<Operation> {
    operations.into_iter().map(|operation| Operation { tag: Some(tag), ..operation }).collect()
}

/// `aegis_control_api::api::agents::permissions::list` → `agents_permissions_list`.
fn operation_id(type_name: &str) -> String {
    let place = type_name.split_once("::api::").map_or(type_name, |(_, place)| place);
    place.replace("::", "_")
}

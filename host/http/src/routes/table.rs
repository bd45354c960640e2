//! A router that can be read: which methods and paths there are, and what each of them does.
//!
//! The router, the list of its routes and their description are made of the same calls: no route is in one of
//! them and not in the others.

use axum::Router;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter};

use crate::Api;
use crate::describe::Described;
use crate::operation::Operation;

/// A route of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its method. A route of `GET` answers to `HEAD` as well.
    pub method: Method,
    /// Its path, with the names of its parameters in braces: `/api/sessions/{id}`.
    pub path: String,
}

/// What the description says of one route.
#[derive(Clone, Copy)]
pub(crate) struct Description {
    /// What no type says.
    own: fn() -> Operation,
    /// What the types of the handler say.
    types: fn(&mut Operation),
}

impl Description {
    /// All of it.
    pub(crate) fn operation(self) -> Operation {
        let mut operation = (self.own)();
        (self.types)(&mut operation);
        operation
    }
}

/// Some routes.
#[derive(Default)]
pub(super) struct Routes {
    router: Router<Api>,
    table: Vec<(Route, Description)>,
}

impl Routes {
    /// The same, and what is done with each method of a path.
    pub(super) fn route(mut self, path: &str, methods: Methods) -> Routes {
        let Methods { handlers, methods } = methods;
        let route = |method| Route { method, path: path.to_owned() };
        let described =
            methods.into_iter().map(|(method, description)| (route(method), description));
        self.table.extend(described);
        Routes { router: self.router.route(path, handlers), ..self }
    }

    /// The same, and others.
    pub(super) fn and(mut self, other: Routes) -> Routes {
        self.table.extend(other.table);
        Routes { router: self.router.merge(other.router), ..self }
    }

    /// What serves them.
    pub(super) fn router(self) -> Router<Api> {
        self.router
    }

    /// Which they are, below this path.
    pub(super) fn list(self, prefix: &str) -> impl Iterator<Item = (Route, Description)> {
        self.table.into_iter().map(move |(Route { method, path }, description)| {
            (Route { method, path: format!("{prefix}{path}") }, description)
        })
    }
}

/// What is done with each method of one path.
pub(super) struct Methods {
    handlers: MethodRouter<Api>,
    methods: Vec<(Method, Description)>,
}

/// What is done with `GET`.
pub(super) fn get<T: 'static, H: Described<T>>(handler: H, own: fn() -> Operation) -> Methods {
    Methods::none().on(Method::GET, MethodFilter::GET, handler, own)
}

/// What is done with `POST`.
pub(super) fn post<T: 'static, H: Described<T>>(handler: H, own: fn() -> Operation) -> Methods {
    Methods::none().on(Method::POST, MethodFilter::POST, handler, own)
}

/// What is done with `DELETE`.
pub(super) fn delete<T: 'static, H: Described<T>>(handler: H, own: fn() -> Operation) -> Methods {
    Methods::none().delete(handler, own)
}

impl Methods {
    fn none() -> Methods {
        Methods { handlers: MethodRouter::new(), methods: Vec::new() }
    }

    /// The same, and what is done with `PATCH`.
    pub(super) fn patch<T: 'static, H: Described<T>>(
        self,
        handler: H,
        own: fn() -> Operation,
    ) -> Methods {
        self.on(Method::PATCH, MethodFilter::PATCH, handler, own)
    }

    /// The same, and what is done with `PUT`.
    pub(super) fn put<T: 'static, H: Described<T>>(
        self,
        handler: H,
        own: fn() -> Operation,
    ) -> Methods {
        self.on(Method::PUT, MethodFilter::PUT, handler, own)
    }

    /// The same, and what is done with other methods of a path that this one is a case of. It is described there.
    pub(super) fn with_undescribed(self, other: Methods) -> Methods {
        Methods { handlers: self.handlers.merge(other.handlers), ..self }
    }

    /// The same, and what is done with `DELETE`.
    pub(super) fn delete<T: 'static, H: Described<T>>(
        self,
        handler: H,
        own: fn() -> Operation,
    ) -> Methods {
        self.on(Method::DELETE, MethodFilter::DELETE, handler, own)
    }

    fn on<T: 'static, H: Described<T>>(
        mut self,
        method: Method,
        filter: MethodFilter,
        handler: H,
        own: fn() -> Operation,
    ) -> Methods {
        self.methods.push((method, Description { own, types: H::describe }));
        Methods { handlers: self.handlers.on(filter, handler), ..self }
    }
}

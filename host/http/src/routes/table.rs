//! A router that can be read: which methods and paths there are.
//!
//! The router and the list of its routes are made of the same calls, so that the list has each route.

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter};

use crate::Api;

/// A route of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its method. A route of `GET` answers to `HEAD` as well.
    pub method: Method,
    /// Its path, with the names of its parameters in braces: `/api/sessions/{id}`.
    pub path: String,
}

/// Some routes.
#[derive(Default)]
pub(super) struct Routes {
    router: Router<Api>,
    table: Vec<Route>,
}

impl Routes {
    /// The same, and what is done with each method of a path.
    pub(super) fn route(mut self, path: &str, methods: Methods) -> Routes {
        let Methods { handlers, methods } = methods;
        let route = |method| Route { method, path: path.to_owned() };
        self.table.extend(methods.into_iter().map(route));
        Routes { router: self.router.route(path, handlers), ..self }
    }

    /// What serves them.
    pub(super) fn router(self) -> Router<Api> {
        self.router
    }

    /// Which they are, below this path.
    pub(super) fn list(self, prefix: &str) -> impl Iterator<Item = Route> {
        self.table
            .into_iter()
            .map(move |Route { method, path }| Route { method, path: format!("{prefix}{path}") })
    }
}

/// What is done with each method of one path.
pub(super) struct Methods {
    handlers: MethodRouter<Api>,
    methods: Vec<Method>,
}

/// What is done with `GET`.
pub(super) fn get<T: 'static>(handler: impl Handler<T, Api>) -> Methods {
    Methods::none().on(Method::GET, MethodFilter::GET, handler)
}

/// What is done with `POST`.
pub(super) fn post<T: 'static>(handler: impl Handler<T, Api>) -> Methods {
    Methods::none().on(Method::POST, MethodFilter::POST, handler)
}

/// What is done with `DELETE`.
pub(super) fn delete<T: 'static>(handler: impl Handler<T, Api>) -> Methods {
    Methods::none().delete(handler)
}

impl Methods {
    fn none() -> Methods {
        Methods { handlers: MethodRouter::new(), methods: Vec::new() }
    }

    /// The same, and what is done with `PATCH`.
    pub(super) fn patch<T: 'static>(self, handler: impl Handler<T, Api>) -> Methods {
        self.on(Method::PATCH, MethodFilter::PATCH, handler)
    }

    /// The same, and what is done with `DELETE`.
    pub(super) fn delete<T: 'static>(self, handler: impl Handler<T, Api>) -> Methods {
        self.on(Method::DELETE, MethodFilter::DELETE, handler)
    }

    fn on<T: 'static>(
        mut self,
        method: Method,
        filter: MethodFilter,
        handler: impl Handler<T, Api>,
    ) -> Methods {
        self.methods.push(method);
        Methods { handlers: self.handlers.on(filter, handler), ..self }
    }
}
